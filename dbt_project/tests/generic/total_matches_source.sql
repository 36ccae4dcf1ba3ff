{# The sum of a column equals the sum of the source's valid lines up to `as_of`. #}
{% test total_matches_source(model, column, lines, id, amount, day) %}
with standing as (
    {{ lines_that_stand(lines, id, day, amount ~ ' as montant') }}
),

here as (
    select coalesce(sum({{ column }}), 0) as total
    from {{ model }}
),

there as (
    select coalesce(sum(montant), 0) as total
    from standing
)

select
    here.total,
    there.total as expected
from here
cross join there
where here.total <> there.total
{% endtest %}
