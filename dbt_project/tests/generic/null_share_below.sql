{# The share of null values is below `least`, from 0 to 1; an empty table passes. #}
{% test null_share_below(model, column_name, least) %}
with counted as (
    select
        count(*) as nb_lignes,
        count(*) - count({{ column_name }}) as nb_nuls
    from {{ model }}
)

select
    nb_lignes,
    nb_nuls
from counted
where nb_lignes > 0 and nb_nuls >= {{ least }} * nb_lignes
{% endtest %}
