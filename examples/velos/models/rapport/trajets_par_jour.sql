select
    factures.jour,
    factures.station_id,
    stations.nom,
    count(*) as nb_trajets,
    sum(factures.minutes) as minutes,
    sum(factures.centimes) as centimes
from {{ ref('trajets_factures') }} as factures
left join {{ ref('stations_suivies') }} as stations on factures.station_id = stations.station_id and stations.dbt_valid_to is null
group by factures.jour, factures.station_id, stations.nom
