{{ config(tags=['P2'], indexes=[{'columns': ['zone_id', 'annee', 'mois']}]) }}

-- Every event counts in the month in which it happened: a request of January decided in March is a request of January
-- and a decision of March. Each kind reads the table by itself: of a CTE that all read, PostgreSQL would make a copy first.
with evenements as (
    select
        zone_id,
        'demande' as genre,
        date_demande as jour,
        superficie_m2,
        statut,
        decision,
        null::integer as delai_jours
    from {{ ref('fait_implantations') }}
    union all
    select
        zone_id,
        'decision' as genre,
        date_decision as jour,
        superficie_m2,
        statut,
        decision,
        delai_decision_jours as delai_jours
    from {{ ref('fait_implantations') }}
    where decision is not null
    union all
    select
        zone_id,
        'attribution' as genre,
        date_attribution as jour,
        superficie_m2,
        statut,
        decision,
        delai_attribution_jours as delai_jours
    from {{ ref('fait_implantations') }}
    where date_attribution is not null
    union all
    select
        zone_id,
        'exploitation' as genre,
        date_mise_en_exploitation as jour,
        superficie_m2,
        statut,
        decision,
        delai_exploitation_jours as delai_jours
    from {{ ref('fait_implantations') }}
    where date_mise_en_exploitation is not null
),

mois as (
    select
        zone_id,
        extract(year from jour)::integer as annee,
        extract(month from jour)::integer as mois,
        count(*) filter (where genre = 'demande')::integer as nb_demandes,
        coalesce(sum(superficie_m2) filter (where genre = 'demande'), 0) as superficie_demandee_m2,
        count(*) filter (where genre = 'demande' and statut = 'en_attente')::integer as nb_en_attente,
        count(*) filter (where genre = 'decision' and decision = 'accordee')::integer as nb_accordees,
        count(*) filter (where genre = 'decision' and decision = 'refusee')::integer as nb_refusees,
        count(*) filter (where genre = 'attribution')::integer as nb_attributions,
        coalesce(sum(superficie_m2) filter (where genre = 'attribution'), 0) as superficie_attribuee_m2,
        count(*) filter (where genre = 'exploitation')::integer as nb_mises_en_exploitation,
        coalesce(sum(superficie_m2) filter (where genre = 'exploitation'), 0) as superficie_en_exploitation_m2,
        round(avg(delai_jours) filter (where genre = 'decision'), 2) as delai_moyen_decision_jours,
        round(avg(delai_jours) filter (where genre = 'attribution'), 2) as delai_moyen_attribution_jours,
        round(avg(delai_jours) filter (where genre = 'exploitation'), 2) as delai_moyen_exploitation_jours
    from evenements
    group by 1, 2, 3
),

cumuls as (
    select
        mois.*,
        case
            when mois.zone_id is not null and mois.annee is not null
                then sum(mois.superficie_attribuee_m2) over (partition by mois.zone_id order by mois.annee, mois.mois)
        end as superficie_attribuee_cumulee_m2
    from mois
)

select
    {{ surrogate_key(['cumuls.zone_id', 'cumuls.annee', 'cumuls.mois']) }} as implantation_suivi_sk,
    cumuls.zone_id,
    cumuls.annee,
    cumuls.mois,
    zones.nom_zone,
    zones.region,
    cumuls.nb_demandes,
    cumuls.superficie_demandee_m2,
    cumuls.nb_en_attente,
    cumuls.nb_accordees,
    cumuls.nb_refusees,
    {{ share('cumuls.nb_accordees', 'cumuls.nb_accordees + cumuls.nb_refusees') }} as taux_acceptation,
    cumuls.nb_attributions,
    cumuls.superficie_attribuee_m2,
    cumuls.nb_mises_en_exploitation,
    cumuls.superficie_en_exploitation_m2,
    cumuls.delai_moyen_decision_jours,
    cumuls.delai_moyen_attribution_jours,
    cumuls.delai_moyen_exploitation_jours,
    cumuls.superficie_attribuee_cumulee_m2,
    {{ share('cumuls.superficie_attribuee_cumulee_m2', 'zones.superficie_totale_m2') }} as taux_occupation
from cumuls
left join {{ ref('dim_zones') }} as zones on cumuls.zone_id = zones.zone_id
