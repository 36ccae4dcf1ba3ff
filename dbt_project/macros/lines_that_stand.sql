{#
    The lines of a source's journal that hold, of what has happened by `as_of`, found in another way than `current_lines`
    finds them: there is no later one. For tests, so that a mistake there shows.
#}
{% macro lines_that_stand(relation, id, day, columns) -%}
    select {{ columns }}
    from {{ relation }} as line
    where
        line.deleted_at is null
        and {{ has_happened('line.' ~ day) }}
        and not exists (
            select 1
            from {{ relation }} as later
            where
                later.{{ id }} = line.{{ id }}
                and (later.updated_at, later.numero_ligne) > (line.updated_at, line.numero_ligne)
        )
{%- endmacro %}
