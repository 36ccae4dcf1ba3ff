-- A view is live as soon as it is made: it shows what the tables below it hold.
{{ config(materialized='view') }}

select
    trajet_id,
    jour,
    minutes
from {{ ref('trajets_factures') }}
where minutes >= 60
