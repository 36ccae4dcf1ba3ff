{# No more rows than another relation, so that no join has multiplied them. #}
{% test row_count_at_most_of(model, other) %}
with here as (
    select count(*) as nb_lignes
    from {{ model }}
),

there as (
    select count(*) as nb_lignes
    from {{ other }}
)

select here.nb_lignes, there.nb_lignes as most
from here
cross join there
where here.nb_lignes > there.nb_lignes
{% endtest %}
