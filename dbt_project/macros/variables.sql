{#
    The project's variables, checked before they become SQL. Unchecked variables would let their author inject SQL; here a wrong
    or malicious value is a compile error that says what to write.
#}

{# The first year of the calendar, an integer. #}
{% macro first_year() -%}
    {%- set year = var('calendrier_premiere_annee') -%}
    {%- if year is not integer or year is boolean or year < 1900 or year > 2100 -%}
        {{ exceptions.raise_compiler_error("calendrier_premiere_annee must be a year between 1900 and 2100 such as 2015, not '" ~ year ~ "'") }}
    {%- endif -%}
    {{ year }}
{%- endmacro %}

{# Return the names of roles that may read the marts; empty where the variable is not set. #}
{% macro dashboard_roles() %}
    {%- set given = var('roles_dashboards', none) or [] %}
    {%- set roles = [given] if given is string else given %}
    {%- if roles is mapping or roles is not iterable %}
        {%- do exceptions.raise_compiler_error("roles_dashboards must be a list of roles such as [lecteurs], not '" ~ roles ~ "'") %}
    {%- endif %}
    {%- for role in roles %}{% do quoted_role(role) %}{% endfor %}
    {{- return(roles | list) }}
{% endmacro %}

{# Return a role for SQL: its quoted name, or the keyword public. #}
{% macro quoted_role(role) %}
    {%- if role is not string or not modules.re.fullmatch('[^\\x00-\\x1f\\x7f"\';]{1,63}', role) %}
        {%- do exceptions.raise_compiler_error(
            "roles_dashboards: '" ~ role ~ "' is not the name of a role: write up to 63 characters without quotes and semicolons"
        ) %}
    {%- endif %}
    {{- return('public' if role | lower == 'public' else adapter.quote(role)) }}
{% endmacro %}

{# Replaces dbt's own macro, which does not quote names. #}
{% macro postgres__get_grant_sql(relation, privilege, grantees) -%}
    grant {{ privilege }} on {{ relation.render() }} to {% for role in grantees %}{{ quoted_role(role) }}{% if not loop.last %}, {% endif %}{% endfor %}
{%- endmacro %}
{% macro postgres__get_revoke_sql(relation, privilege, grantees) -%}
    revoke {{ privilege }} on {{ relation.render() }} from {% for role in grantees %}{{ quoted_role(role) }}{% if not loop.last %}, {% endif %}{% endfor %}
{%- endmacro %}
