{{ config(indexes=[{'columns': ['jour'], 'unique': true}]) }}

with jours as (
    select (premier + rang)::date as jour
    from (
        select
            make_date({{ first_year() }}, 1, 1) as premier,
            make_date(extract(year from {{ as_of() }})::integer + 1, 12, 31) as dernier
    ) as bornes
    cross join lateral generate_series(0, dernier - premier) as rang
)

select
    jour,
    extract(year from jour)::integer as annee,
    extract(quarter from jour)::integer as trimestre,
    extract(month from jour)::integer as mois,
    extract(day from jour)::integer as jour_mois,
    extract(isodow from jour)::integer as jour_semaine,
    extract(isoyear from jour)::integer as annee_iso,
    extract(week from jour)::integer as semaine_iso,
    (array[
        'janvier', 'fevrier', 'mars', 'avril', 'mai', 'juin', 'juillet', 'aout', 'septembre', 'octobre', 'novembre', 'decembre'
    ])[extract(month from jour)::integer] as nom_mois,
    (array['lundi', 'mardi', 'mercredi', 'jeudi', 'vendredi', 'samedi', 'dimanche'])[extract(isodow from jour)::integer] as nom_jour,
    (jour - extract(day from jour)::integer + 1)::date as premier_jour_mois,
    (date_trunc('month', jour::timestamp) + interval '1 month - 1 day')::date as dernier_jour_mois,
    extract(isodow from jour) >= 6 as est_weekend
from jours
