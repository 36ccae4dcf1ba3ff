{{ config(tags=['P2'], indexes=[{'columns': ['zone_id', 'annee', 'mois']}]) }}

-- Every event counts in the month in which it happened: a request of January decided in March is a request of January
-- and a decision of March.
with evenements as (
    select
        faits.zone_id,
        extract(year from evenement.jour)::integer as annee,
        extract(month from evenement.jour)::integer as mois,
        evenement.genre,
        faits.superficie_m2,
        faits.statut,
        faits.decision,
        evenement.delai_jours
    from
        {{ ref('fait_implantations') }} as faits,
        lateral (
            values
            ('demande', true, faits.date_demande, null),
            ('decision', faits.decision is not null, faits.date_decision, faits.delai_decision_jours),
            ('attribution', faits.date_attribution is not null, faits.date_attribution, faits.delai_attribution_jours),
            (
                'exploitation',
                faits.date_mise_en_exploitation is not null,
                faits.date_mise_en_exploitation,
                faits.delai_exploitation_jours
            )
        ) as evenement (genre, survenu, jour, delai_jours)
    where evenement.survenu
),

mois as (
    select
        zone_id,
        annee,
        mois,
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
    group by zone_id, annee, mois
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
