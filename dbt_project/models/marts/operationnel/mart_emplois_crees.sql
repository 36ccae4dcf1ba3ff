{{ config(tags=['P2'], indexes=[{'columns': ['zone_id', 'annee', 'mois']}]) }}

with mois as (
    select
        zone_id,
        extract(year from date_declaration)::integer as annee,
        extract(month from date_declaration)::integer as mois,
        count(*)::integer as nb_declarations,
        count(distinct entreprise_id)::integer as nb_entreprises,
        sum(nb_prevus) as nb_prevus,
        sum(nb_crees) as nb_crees,
        coalesce(sum(nb_crees) filter (where type_contrat = 'CDI'), 0) as nb_crees_cdi,
        coalesce(sum(nb_crees) filter (where type_contrat = 'CDD'), 0) as nb_crees_cdd,
        coalesce(sum(nb_crees) filter (where type_contrat = 'INTERIM'), 0) as nb_crees_interim,
        coalesce(sum(nb_crees) filter (where sexe = 'F'), 0) as nb_crees_femmes,
        coalesce(sum(nb_crees) filter (where sexe = 'H'), 0) as nb_crees_hommes,
        coalesce(sum(nb_crees) filter (where sexe is null), 0) as nb_crees_sexe_inconnu
    from {{ ref('fait_emplois_crees') }}
    group by 1, 2, 3
)

select
    {{ surrogate_key(['mois.zone_id', 'mois.annee', 'mois.mois']) }} as emplois_crees_sk,
    mois.zone_id,
    mois.annee,
    mois.mois,
    zones.nom_zone,
    zones.region,
    mois.nb_declarations,
    mois.nb_entreprises,
    mois.nb_prevus,
    mois.nb_crees,
    mois.nb_crees - mois.nb_prevus as ecart,
    {{ share('mois.nb_crees', 'mois.nb_prevus') }} as taux_realisation,
    mois.nb_crees_cdi,
    mois.nb_crees_cdd,
    mois.nb_crees_interim,
    mois.nb_crees_femmes,
    mois.nb_crees_hommes,
    mois.nb_crees_sexe_inconnu,
    {{ share('mois.nb_crees_femmes', 'mois.nb_crees_femmes + mois.nb_crees_hommes') }} as part_femmes
from mois
left join {{ ref('dim_zones') }} as zones on mois.zone_id = zones.zone_id
