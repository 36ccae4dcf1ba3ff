{#
    The valid lines of a source's journal, of events up to `as_of`, found in another way than by `current_lines`: in order, no
    line of the same id follows. For tests, so that they find a mistake there.
#}
{% macro lines_that_stand(relation, id, day, columns) -%}
    select {{ columns }}
    from (
        select
            *,
            lead({{ id }}) over (order by {{ id }}, updated_at, numero_ligne) as next_id
        from {{ relation }}
    ) as line
    where
        line.next_id is distinct from line.{{ id }}
        and line.deleted_at is null
        and {{ has_happened('line.' ~ day) }}
{%- endmacro %}
