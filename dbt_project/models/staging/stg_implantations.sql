{{ config(tags=['P2']) }}

with lines as (
    {{ current_lines(source('sigeti', 'demandes_implantation'), 'demande_id') }}
)

select
    demande_id,
    zone_id::integer as zone_id,
    entreprise_id,
    superficie_m2,
    date_demande,
    date_decision,
    {{ tidy('decision') }} as decision,
    date_attribution,
    date_mise_en_exploitation,
    updated_at
from lines
