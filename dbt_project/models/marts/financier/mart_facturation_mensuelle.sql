{{ config(indexes=[{'columns': ['zone_id', 'annee', 'mois']}]) }}

with mois as (
    select
        zone_id,
        extract(year from date_emission)::integer as annee,
        extract(month from date_emission)::integer as mois,
        count(*) filter (where montant_ttc >= 0)::integer as nb_factures,
        count(*) filter (where montant_ttc < 0)::integer as nb_avoirs,
        coalesce(sum(montant_ttc) filter (where montant_ttc >= 0), 0) as montant_facture,
        coalesce(-sum(montant_ttc) filter (where montant_ttc < 0), 0) as montant_avoirs,
        sum(montant_ttc) as montant_net
    from {{ ref('stg_factures') }}
    where {{ has_happened('date_emission') }}
    group by 1, 2, 3
)

select
    {{ surrogate_key(['mois.zone_id', 'mois.annee', 'mois.mois']) }} as facturation_mensuelle_sk,
    mois.zone_id,
    mois.annee,
    mois.mois,
    calendrier.trimestre,
    calendrier.nom_mois,
    mois.nb_factures,
    mois.nb_avoirs,
    mois.montant_facture,
    mois.montant_avoirs,
    mois.montant_net
from mois
left join {{ ref('dim_calendrier') }} as calendrier on calendrier.jour = make_date(mois.annee, mois.mois, 1)
