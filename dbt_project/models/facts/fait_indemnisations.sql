{{ config(
    tags=['P2'],
    indexes=[{'columns': ['zone_id', 'date_evaluation']}],
    meta={'key': 'indemnisation_id', 'journals': {'stg_indemnisations': 'indemnisation_id'}},
) }}

with dossiers as (
    select *
    from {{ ref('stg_indemnisations') }}
    where {{ has_happened('date_evaluation') }}
),

-- A payment that is only planned is not yet paid.
connus as (
    select
        indemnisation_id,
        zone_id,
        beneficiaire,
        type_bien,
        coalesce(montant_du, 0) as montant_du,
        case when {{ has_happened('date_paiement') }} then coalesce(montant_paye, 0) else 0 end as montant_paye,
        date_evaluation,
        case when date_paiement <= {{ as_of() }} then date_paiement end as date_paiement
    from dossiers
)

select
    {{ surrogate_key(['indemnisation_id']) }} as indemnisation_sk,
    indemnisation_id,
    zone_id,
    beneficiaire,
    type_bien,
    montant_du,
    montant_paye,
    greatest(montant_du - montant_paye, 0) as montant_restant,
    greatest(montant_paye - montant_du, 0) as montant_trop_paye,
    case
        when montant_paye >= montant_du then 'solde'
        when montant_paye > 0 then 'partiel'
        else 'impaye'
    end as statut_paiement,
    date_evaluation,
    date_paiement,
    date_paiement - date_evaluation as delai_paiement_jours
from connus
