-- A part of the models that read it, never a table of its own.
{{ config(materialized='ephemeral') }}

select
    trajets.trajet_id,
    trajets.station_id,
    trajets.parti_le::date as jour,
    trajets.minutes,
    trajets.minutes * tarifs.centimes_par_minute as centimes
from {{ ref('trajets') }} as trajets
inner join {{ ref('tarifs') }} as tarifs on trajets.abonnement = tarifs.abonnement
where trajets.minutes > 1
