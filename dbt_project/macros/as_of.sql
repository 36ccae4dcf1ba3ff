{# The date for which facts and marts are computed, as a SQL literal. #}
{% macro as_of() -%}
    {%- set day = var('as_of', (run_started_at | string)[:10]) | string -%}
    {%- if not modules.re.fullmatch('[0-9]{4}-[0-9]{2}-[0-9]{2}', day) -%}
        {{ exceptions.raise_compiler_error("as_of must be a date such as 2026-06-30, not '" ~ day ~ "'") }}
    {%- endif -%}
    date '{{ day }}'
{%- endmacro %}
