{{ config(
    tags=['P2'],
    indexes=[{'columns': ['zone_id', 'date_demande']}],
    meta={'key': 'demande_id', 'journals': {'stg_implantations': 'demande_id'}},
) }}

with demandes as (
    select *
    from {{ ref('stg_implantations') }}
    where {{ has_happened('date_demande') }}
),

-- Plans and postdated steps are not yet steps.
connues as (
    select
        demande_id,
        zone_id,
        entreprise_id,
        superficie_m2,
        date_demande,
        case when date_decision <= {{ as_of() }} then date_decision end as date_decision,
        case when {{ has_happened('date_decision') }} then decision end as decision,
        case when date_attribution <= {{ as_of() }} then date_attribution end as date_attribution,
        case when date_mise_en_exploitation <= {{ as_of() }} then date_mise_en_exploitation end as date_mise_en_exploitation
    from demandes
)

select
    {{ surrogate_key(['demande_id']) }} as implantation_sk,
    demande_id,
    zone_id,
    entreprise_id,
    superficie_m2,
    date_demande,
    date_decision,
    decision,
    date_attribution,
    date_mise_en_exploitation,
    case
        when date_mise_en_exploitation is not null then 'en_exploitation'
        when date_attribution is not null then 'attribuee'
        else coalesce(decision, 'en_attente')
    end as statut,
    date_decision - date_demande as delai_decision_jours,
    date_attribution - date_decision as delai_attribution_jours,
    date_mise_en_exploitation - date_attribution as delai_exploitation_jours
from connues
