{# The sum of a column equals that of another relation, so that nothing is lost or counted twice. Both may be expressions. #}
{% test totals_match(model, column, other, other_column) %}
with here as (
    select coalesce(sum({{ column }}), 0) as total
    from {{ model }}
),

there as (
    select coalesce(sum({{ other_column }}), 0) as total
    from {{ other }}
)

select here.total, there.total as expected
from here
cross join there
where here.total <> there.total
{% endtest %}
