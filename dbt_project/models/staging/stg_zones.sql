with lines as (
    {{ current_lines(source('sigeti', 'zones'), 'zone_id') }}
)

select
    zone_id::integer as zone_id,
    trim(nom) as nom_zone,
    trim(region) as region,
    superficie_totale_m2,
    updated_at
from lines
