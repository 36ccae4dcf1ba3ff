-- What all owe, less what is owed to them, is what the source says was invoiced and paid by `as_of`.
{{ config(tags=['P2']) }}

with factures as (
    {{ lines_that_stand(source('sigeti', 'factures'), 'facture_id', 'date_emission', 'facture_id, montant_ttc') }}
),

paiements as (
    {{ lines_that_stand(source('sigeti', 'paiements'), 'paiement_id', 'date_paiement', 'facture_id, montant') }}
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
