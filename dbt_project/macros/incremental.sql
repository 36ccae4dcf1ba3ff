{#
    Replaces dbt's own `incremental` for facts built from journals (journals.sql). One transaction with one snapshot: what was
    inspected is what is built, and what is recorded for the next build.
#}
{% materialization incremental, adapter='postgres' %}
    {%- set existing = load_cached_relation(this) %}
    {%- set target = this.incorporate(type='table') %}
    {%- set fresh, old = make_intermediate_relation(target), make_backup_relation(target, existing.type if existing else 'table') %}
    {%- set left = [load_cached_relation(fresh), load_cached_relation(old)] | select | list %}
    {%- for relation in left %}{% do adapter.drop_relation(relation) %}{% endfor %}
    {%- if left %}{% do adapter.commit() %}{% endif %}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {% call statement('one_moment') %}set transaction isolation level repeatable read{% endcall %}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set journals, marks, key = journals_of(model), marks_of(this), adapter.quote(model.config.meta['key']) %}
    {%- do look(journals, marks, key) %}
    {%- set print = local_md5(sql ~ journals | map(attribute='definition') | join ~ tojson(model.columns) ~ tojson(config.get('indexes', []))) %}
    {%- set files = {} %}
    {%- for journal in journals if existing and existing.is_table %}
        {%- do files.update({journal.name: journal.file ~ ', fact ' ~ rows_of("select pg_relation_filenode('" ~ this ~ "')")[0][0]}) %}
    {%- endfor %}
    {%- set reason = whole_because(journals, existing, print, files) %}

    {%- if reason %}
        {%- do log(this.identifier ~ ' is built whole: ' ~ reason, info=true) %}
        {%- call statement('main') %}{{ get_create_table_as_sql(False, fresh, sql) }}{% endcall %}
        {%- do create_indexes(fresh) %}
        {%- if existing %}{% do adapter.rename_relation(existing, old) %}{% endif %}
        {%- do adapter.rename_relation(fresh, target) %}
    {%- else %}
        {%- do log(this.identifier ~ ': further lines of ' ~ journals | map(attribute='name') | join(', '), info=true) %}
        {%- set insert = make_touched_anew(journals, key, sql) %}
        {%- call statement('main') %}{{ insert }}{% endcall %}
    {%- endif %}
    {#-
        Without it the next query would be planned as if the table were empty, or as if all pages were still all-visible, so that an
        index-only scan would fetch each row from the heap. A vacuum that holds the lock updates the statistics itself.
    #}
    {%- if reason or journals | sum(attribute='now.further') %}{% do run_query('analyze (skip_locked) ' ~ target) %}{% endif %}

    {%- do keep_marks(journals, marks, print) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, reason)) %}
    {%- do persist_docs(target, model) %}
    {%- do adapter.commit() %}
    {%- if reason and existing %}{% do adapter.drop_relation(old) %}{% endif %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}
