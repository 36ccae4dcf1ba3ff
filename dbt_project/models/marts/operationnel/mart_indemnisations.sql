{{ config(tags=['P2'], indexes=[{'columns': ['zone_id', 'annee', 'mois']}]) }}

-- A case counts in the month of its valuation, whenever it is paid.
with mois as (
    select
        zone_id,
        extract(year from date_evaluation)::integer as annee,
        extract(month from date_evaluation)::integer as mois,
        count(*)::integer as nb_dossiers,
        count(distinct beneficiaire)::integer as nb_beneficiaires,
        sum(montant_du) as montant_du,
        sum(montant_paye) as montant_paye,
        sum(montant_restant) as montant_restant,
        sum(montant_trop_paye) as montant_trop_paye,
        count(*) filter (where statut_paiement = 'solde')::integer as nb_soldes,
        count(*) filter (where statut_paiement = 'partiel')::integer as nb_partiels,
        count(*) filter (where statut_paiement = 'impaye')::integer as nb_impayes,
        coalesce(sum(montant_du) filter (where type_bien = 'terre'), 0) as montant_du_terre,
        coalesce(sum(montant_du) filter (where type_bien = 'culture'), 0) as montant_du_culture,
        coalesce(sum(montant_du) filter (where type_bien = 'bati'), 0) as montant_du_bati,
        round(avg(delai_paiement_jours), 2) as delai_moyen_paiement_jours
    from {{ ref('fait_indemnisations') }}
    group by 1, 2, 3
)

select
    {{ surrogate_key(['mois.zone_id', 'mois.annee', 'mois.mois']) }} as indemnisations_sk,
    mois.zone_id,
    mois.annee,
    mois.mois,
    zones.nom_zone,
    zones.region,
    mois.nb_dossiers,
    mois.nb_beneficiaires,
    mois.montant_du,
    mois.montant_paye,
    mois.montant_restant,
    mois.montant_trop_paye,
    {{ share('mois.montant_du - mois.montant_restant', 'mois.montant_du') }} as taux_paiement,
    mois.nb_soldes,
    mois.nb_partiels,
    mois.nb_impayes,
    mois.montant_du_terre,
    mois.montant_du_culture,
    mois.montant_du_bati,
    mois.delai_moyen_paiement_jours
from mois
left join {{ ref('dim_zones') }} as zones on mois.zone_id = zones.zone_id
