{#
    The lines of a source's journal that hold, of what has happened by `as_of`, found in another way than `current_lines`
    finds them: in order, none of the same id comes next. For tests, so that a mistake there shows.
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
