{# The number of rows is from `least` to `most`, which is optional. #}
{% test row_count_within(model, least=0, most=none) %}
with counted as (
    select count(*) as nb_lignes
    from {{ model }}
)

select nb_lignes
from counted
where nb_lignes < {{ least }}{% if most is not none %} or nb_lignes > {{ most }}{% endif %}
{% endtest %}
