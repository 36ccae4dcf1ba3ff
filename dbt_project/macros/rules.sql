{# True unless the event is dated after as_of; an event without a date counts as happened. #}
{% macro has_happened(day) -%}
    coalesce({{ day }} <= {{ as_of() }}, true)
{%- endmacro %}

{# The valid lines of a source's journal: the latest of each id, unless it withdraws the record. #}
{% macro current_lines(relation, id) -%}
    select latest.*
    from (
        select distinct on ({{ id }}) *
        from {{ relation }}
        order by {{ id }}, updated_at desc, numero_ligne desc
    ) as latest
    where latest.deleted_at is null
{%- endmacro %}

{# A code without surrounding blanks, in lower case. #}
{% macro tidy(code) -%}
    nullif(lower(trim({{ code }})), '')
{%- endmacro %}

{# A key of several columns, which stays unique where some are null. #}
{% macro surrogate_key(columns) -%}
    md5(
        {%- for column in columns %}
        coalesce({{ column }}::text, '~'){% if not loop.last %} || '|' ||{% endif %}
        {%- endfor %}
    )
{%- endmacro %}

{# A share between 0 and 1, rounded to four decimals; null where the whole is 0 or null. #}
{% macro share(part, whole) -%}
    round(({{ part }})::numeric / nullif({{ whole }}, 0), 4)
{%- endmacro %}

{# The age band of a receivable by its days past due. #}
{% macro age_band(days) -%}
    case
        when {{ days }} <= 30 then '0-30'
        when {{ days }} <= 60 then '31-60'
        when {{ days }} <= 90 then '61-90'
        when {{ days }} <= 180 then '91-180'
        when {{ days }} > 180 then 'plus de 180'
    end
{%- endmacro %}
