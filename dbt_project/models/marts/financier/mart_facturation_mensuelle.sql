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
    {{ surrogate_key(['zone_id', 'annee', 'mois']) }} as facturation_mensuelle_sk,
    zone_id,
    annee,
    mois,
    nb_factures,
    nb_avoirs,
    montant_facture,
    montant_avoirs,
    montant_net
from mois
