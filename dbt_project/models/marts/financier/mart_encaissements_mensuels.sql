{{ config(indexes=[{'columns': ['zone_id', 'annee', 'mois']}]) }}

with paiements as (
    select
        factures.zone_id,
        paiements.date_paiement,
        paiements.montant,
        paiements.date_paiement - factures.date_emission as delai_jours
    from {{ ref('stg_paiements') }} as paiements
    left join {{ ref('stg_factures') }} as factures on paiements.facture_id = factures.facture_id
    where {{ has_happened('paiements.date_paiement') }}
),

mois as (
    select
        zone_id,
        extract(year from date_paiement)::integer as annee,
        extract(month from date_paiement)::integer as mois,
        count(*) filter (where montant >= 0)::integer as nb_paiements,
        count(*) filter (where montant < 0)::integer as nb_rejets,
        sum(montant) as montant_encaisse,
        round(avg(delai_jours) filter (where montant >= 0), 2) as delai_moyen_jours
    from paiements
    group by 1, 2, 3
)

select
    {{ surrogate_key(['mois.zone_id', 'mois.annee', 'mois.mois']) }} as encaissements_mensuels_sk,
    mois.zone_id,
    mois.annee,
    mois.mois,
    calendrier.trimestre,
    calendrier.nom_mois,
    mois.nb_paiements,
    mois.nb_rejets,
    mois.montant_encaisse,
    mois.delai_moyen_jours
from mois
left join {{ ref('dim_calendrier') }} as calendrier on calendrier.jour = make_date(mois.annee, mois.mois, 1)
