{{ config(
    tags=['P2'],
    indexes=[{'columns': ['entreprise_id']}],
    meta={'key': 'facture_id', 'journals': {'stg_factures': 'facture_id', 'stg_paiements': 'paiement_id'}},
) }}

with factures as (
    select
        facture_id,
        zone_id,
        entreprise_id,
        date_emission,
        -- An invoice that states no due date is due 30 days after it was issued.
        coalesce(date_echeance, date_emission + 30) as date_echeance,
        montant_ttc
    from {{ ref('stg_factures') }}
    where {{ has_happened('date_emission') }}
),

encaissements as (
    select
        facture_id,
        sum(montant) as montant_encaisse,
        count(*) as nb_paiements
    from {{ ref('stg_paiements') }}
    where {{ has_happened('date_paiement') }}
    group by facture_id
),

soldes as (
    select
        factures.*,
        coalesce(encaissements.nb_paiements, 0)::integer as nb_paiements,
        coalesce(encaissements.montant_encaisse, 0) as montant_encaisse,
        factures.montant_ttc - coalesce(encaissements.montant_encaisse, 0) as montant_solde,
        {{ as_of() }} - factures.date_echeance as jours_retard
    from factures
    left join encaissements on factures.facture_id = encaissements.facture_id
)

select
    {{ surrogate_key(['facture_id']) }} as facture_sk,
    facture_id,
    zone_id,
    entreprise_id,
    date_emission,
    date_echeance,
    montant_ttc,
    nb_paiements,
    montant_encaisse,
    montant_solde,
    jours_retard,
    {{ age_band('jours_retard') }} as tranche_anciennete
from soldes
