{# Grant the dashboards' roles usage of the schemas of public models; the models' `grants` decide which tables they read. #}
{% macro open_mart_schemas() %}
    {%- set roles = dashboard_roles() %}
    {%- if execute and roles and flags.WHICH in ['run', 'build'] %}
        {%- set schemas = [] %}
        {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.access == 'public' %}
            {%- do schemas.append(generate_schema_name(node.config.schema, node)) %}
        {%- endfor %}
        {%- for schema in schemas | unique | sort %}
            create schema if not exists {{ adapter.quote(schema) }};
            grant usage on schema {{ adapter.quote(schema) }} to
            {%- for role in roles %} {{ quoted_role(role) }}{% if not loop.last %},{% endif %}{% endfor %};
        {%- endfor %}
    {%- endif %}
{% endmacro %}
