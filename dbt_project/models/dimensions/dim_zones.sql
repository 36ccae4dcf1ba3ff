select
    zone_id,
    nom_zone,
    region,
    superficie_totale_m2
from {{ ref('stg_zones') }}
