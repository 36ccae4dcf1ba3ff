{#
    A column adds up to what the source's own lines say by `as_of`. The lines that hold are found in another way than the
    staging finds them (there is no later one), so that a mistake there shows here.
#}
{% test total_matches_source(model, column, lines, id, amount, day) %}
with here as (
    select coalesce(sum({{ column }}), 0) as total
    from {{ model }}
),

there as (
    select coalesce(sum({{ amount }}), 0) as total
    from {{ lines }} as line
    where
        line.deleted_at is null
        and {{ has_happened('line.' ~ day) }}
        and not exists (
            select 1
            from {{ lines }} as later
            where
                later.{{ id }} = line.{{ id }}
                and (later.updated_at, later.numero_ligne) > (line.updated_at, line.numero_ligne)
        )
)

select here.total, there.total as expected
from here
cross join there
where here.total <> there.total
{% endtest %}
