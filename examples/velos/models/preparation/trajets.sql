-- Rides are never changed once they are over, so only new ones are read; those that the source has thrown away stay here.
{{ config(unique_key='trajet_id') }}

select
    trajet_id,
    station_id,
    abonnement,
    parti_le,
    minutes
from {{ source('velos', 'trajets') }}
{% if is_incremental() %}
    where trajet_id > (select coalesce(max(trajet_id), 0) from {{ this }})
{% endif %}
