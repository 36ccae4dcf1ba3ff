-- What the project reads, with a few rides.
create schema if not exists velos_source;
create table if not exists velos_source.stations (station_id integer, nom text, bornes integer);
create table if not exists velos_source.trajets (
    trajet_id integer, station_id integer, abonnement text, parti_le timestamp, minutes integer
);
truncate velos_source.stations, velos_source.trajets;
insert into velos_source.stations values (1, 'Gare', 20), (2, 'Port', 12);
insert into velos_source.trajets
select n, 1 + n % 2, (array['annuel', 'jour', 'aucun'])[1 + n % 3], timestamp '2026-06-01 08:00' + n * interval '1 hour', n
from generate_series(1, 72) as n;
