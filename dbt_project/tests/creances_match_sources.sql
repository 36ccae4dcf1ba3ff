-- What all owe, less what is owed to them, is what the source says was invoiced and paid by `as_of`.
{{ config(tags=['P2']) }}

with factures as (
    select
        line.facture_id,
        line.montant_ttc
    from {{ source('sigeti', 'factures') }} as line
    where
        line.deleted_at is null
        and {{ has_happened('line.date_emission') }}
        and not exists (
            select 1
            from {{ source('sigeti', 'factures') }} as later
            where
                later.facture_id = line.facture_id
                and (later.updated_at, later.numero_ligne) > (line.updated_at, line.numero_ligne)
        )
),

paiements as (
    select
        line.facture_id,
        line.montant
    from {{ source('sigeti', 'paiements') }} as line
    where
        line.deleted_at is null
        and {{ has_happened('line.date_paiement') }}
        and not exists (
            select 1
            from {{ source('sigeti', 'paiements') }} as later
            where
                later.paiement_id = line.paiement_id
                and (later.updated_at, later.numero_ligne) > (line.updated_at, line.numero_ligne)
        )
),

here as (
    select coalesce(sum(montant_net), 0) as total
    from {{ ref('mart_creances_agees') }}
),

there as (
    select coalesce(sum(montants.montant), 0) as total
    from (
        select montant_ttc as montant from factures
        union all
        select -paiements.montant from paiements
        inner join factures on paiements.facture_id = factures.facture_id
    ) as montants
)

select
    here.total,
    there.total as expected
from here
cross join there
where here.total <> there.total
