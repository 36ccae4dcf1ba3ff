{# A count adds up to the rows of another relation. #}
{% test count_matches(model, column, other) %}
with here as (
    select coalesce(sum({{ column }}), 0) as total
    from {{ model }}
),

there as (
    select count(*) as total
    from {{ other }}
)

select here.total, there.total as expected
from here
cross join there
where here.total <> there.total
{% endtest %}
