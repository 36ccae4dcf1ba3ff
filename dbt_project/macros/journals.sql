{#
    Facts built from journals: only records with further lines in the sources are rebuilt.

    A fact that is `incremental` states in `meta` its `key` and, for each staging view that it reads, the column that identifies
    the journal's records: `journals: {stg_factures: facture_id, stg_paiements: paiement_id}`. Key and ids have the same name in
    the source. A row of the fact may depend on nothing but the lines of the records that carry its key.

    No date or number in the lines is trusted. With each build the warehouse keeps, in `reperes`, which transactions were seen and
    how many lines there were. A line is further if another transaction wrote it; all others were there then. If these are as many
    as then, none was changed or taken away. In all other cases the fact is built whole: see `whole_because`.
#}

{# The share of further lines above which a full build of a fact is quicker. #}
{% macro most_further() %}{{ return(0.1) }}{% endmacro %}

{# Return for each staging view that a model reads its name, its source and the id column of its records. #}
{% macro journals_of(model) %}
    {%- set stated, found = model.config.meta.get('journals', {}), [] %}
    {%- for id in model.depends_on.nodes %}
        {%- set view = graph.nodes.get(id) %}
        {%- set parents = view.depends_on.nodes if view else [] %}
        {%- if not view or view.name not in stated or parents | length != 1 or parents[0] not in graph.sources %}
            {%- do exceptions.raise_compiler_error(model.name ~ " reads " ~ id ~ ": not a view of one source that meta.journals lists") %}
        {%- endif %}
        {%- set source = graph.sources[parents[0]] %}
        {%- do found.append({
            'name': view.alias,
            'view': api.Relation.create(this.database, view.schema, view.alias),
            'source': api.Relation.create(this.database, source.schema, source.identifier),
            'lines': 'pg_temp.' ~ adapter.quote(source.identifier),
            'id': adapter.quote(stated[view.name]),
        }) %}
    {%- endfor %}
    {{- return(found) }}
{% endmacro %}

{# The 64-bit id of the transaction that wrote a line, as a SQL expression; `next` is the next transaction id. #}
{% macro author(next) -%}
    ({{ next }} - ({{ next }} - xmin::text::bigint) % 4294967296)
{%- endmacro %}

{#
    True for a line that this or a later transaction wrote. Few lines are so young, and comparing the bytes of xmin first takes a
    third of the time: unless the 32 bits wrapped around in between, no young line has smaller bytes.
#}
{% macro is_since(horizon, next) -%}
    {%- set round = 4294967296 -%}
    ({% if horizon | int // round == next | int // round %}xidsend(xmin) >= '\x{{ '%08x' % (horizon | int % round) }}' and {% endif -%}
    {{ author(next) }} >= {{ horizon }})
{%- endmacro %}

{# True for a line that did not exist at the last build of the fact. #}
{% macro is_further(journal, next) -%}
    {%- if journal.mark -%}
        ({{ is_since(journal.mark.horizon, next) }} and {{ author(next) }} <> all ('{{ journal.mark.auteurs }}'::bigint[]))
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}

{# Return the rows of a query, for the macros here. #}
{% macro rows_of(query) %}{{ return(run_query(query).rows) }}{% endmacro %}

{# Return the table in which builds are recorded, in the schema of the facts. #}
{% macro marks_of(relation) %}
    {{- return(api.Relation.create(relation.database, relation.schema, 'reperes')) }}
{% endmacro %}

{# Facts are built in parallel, and of two concurrent "create table if not exists" one fails in PostgreSQL. #}
{% macro make_marks(marks) %}
    {%- if rows_of("select to_regclass('" ~ marks ~ "') is not null")[0][0] %}{{ return('') }}{% endif %}
    {%- do run_query("select pg_advisory_xact_lock(hashtext('" ~ marks ~ "'))") %}
    {%- do run_query(
        "create table if not exists " ~ marks ~ " (fait text, journal text, empreinte text not null, fichiers text not null,"
        ~ " lignes bigint not null, horizon bigint not null, auteurs text not null, primary key (fait, journal))"
    ) %}
    {%- do run_query(
        "comment on table " ~ marks ~ " is 'What each incremental fact was last made of; without its rows it is built whole.'"
    ) %}
    {%- set columns = {
        'fait': 'Fact.',
        'journal': 'Staging view that it reads.',
        'empreinte': 'Tells the model with its views and the day from others.',
        'fichiers': 'The files of source and fact, so that a replaced table shows.',
        'lignes': 'How many lines the source held.',
        'horizon': 'Every transaction with a smaller number had ended.',
        'auteurs': 'Further transactions whose lines were seen.',
    } %}
    {%- for name, meaning in columns.items() %}
        {%- do run_query("comment on column " ~ marks ~ "." ~ name ~ " is '" ~ meaning ~ "'") %}
    {%- endfor %}
{% endmacro %}

{# Add to each journal what the last build recorded (`mark`) and its current state (`now`). #}
{% macro look(journals, marks, key) %}
    {%- set there = rows_of("select to_regclass('" ~ marks ~ "') is not null")[0][0] %}
    {%- set next = rows_of("select pg_snapshot_xmax(pg_current_snapshot())::text, pg_snapshot_xmin(pg_current_snapshot())::text")[0] %}
    {%- for journal in journals %}
        {%- set about = rows_of(
            "select 'source ' || c.oid || ' ' || coalesce(pg_relation_filenode(c.oid), 0), c.relkind::text = 'r' and not c.relrowsecurity and not c.relhassubclass,"
            ~ " pg_get_viewdef('" ~ journal.view ~ "'::regclass) from pg_class c where c.oid = '" ~ journal.source ~ "'::regclass"
        )[0] %}
        {%- set kept = rows_of(
            "select empreinte, fichiers, lignes, horizon, auteurs from " ~ marks ~ " where fait = '" ~ this.identifier
            ~ "' and journal = '" ~ journal.name ~ "' for update"
        ) if there else [] %}
        {%- do journal.update({
            'mark': kept[0] if kept else none, 'next': next[0], 'horizon': next[1],
            'file': about[0], 'is_table': about[1], 'definition': about[2],
        }) %}
        {#- Other relations may have no transaction ids; a fact that reads them is built in full. #}
        {%- if journal.is_table %}
            {%- set late = is_since(next[1], next[0]) %}
            {%- set now = rows_of(
                "select count(*) as lignes, count(*) filter (where " ~ is_further(journal, next[0]) ~ ") as further,"
                ~ " count(*) filter (where " ~ journal.id ~ " is null or " ~ key ~ " is null) as nameless,"
                ~ " count(*) filter (where " ~ late ~ ") as late from " ~ journal.source
            )[0] %}
            {#- A separate, rare query: PostgreSQL computes a distinct aggregate in one process. #}
            {%- set authors = rows_of(
                "select array_agg(distinct " ~ author(next[0]) ~ ")::text from " ~ journal.source ~ " where " ~ late
            )[0][0] if now.late else '{}' %}
            {%- do journal.update({'now': now, 'authors': authors}) %}
        {%- else %}
            {%- do journal.update({'now': {'lignes': 0}, 'authors': '{}'}) %}
        {%- endif %}
    {%- endfor %}
{% endmacro %}

{# Return why a fact must be built in full; empty where the further lines are provably the only change. #}
{% macro whole_because(journals, existing, print, files) %}
    {%- if existing is none %}{{ return('there is none yet') }}{% endif %}
    {%- if should_full_refresh() %}{{ return('it was asked for') }}{% endif %}
    {%- if not rows_of("select has_database_privilege(current_database(), 'temp')")[0][0] %}{{ return('no temporary tables') }}{% endif %}
    {%- for journal in journals %}
        {%- if not journal.is_table %}{{ return(journal.source.identifier ~ ' is no plain table') }}{% endif %}
        {%- if not journal.mark %}{{ return('nothing is known of the last build') }}{% endif %}
        {%- if journal.mark.empreinte != print %}{{ return('the model, a view or as_of is another one') }}{% endif %}
        {%- if journal.mark.fichiers != files[journal.name] %}{{ return(journal.source.identifier ~ ' or the fact was replaced') }}{% endif %}
        {%- if journal.now.nameless %}{{ return(journal.source.identifier ~ ' has lines without an id') }}{% endif %}
        {%- if journal.now.lignes - journal.now.further != journal.mark.lignes %}
            {{- return('lines of ' ~ journal.source.identifier ~ ' were changed or taken away') }}
        {%- endif %}
        {%- if journal.now.further > journal.now.lignes * most_further() %}{{ return('much has changed') }}{% endif %}
    {%- endfor %}
    {{- return('') }}
{% endmacro %}

{# Rebuild the rows of records that have further lines; returns the last statement. #}
{% macro make_touched_anew(journals, key, sql) %}
    {%- if journals | sum(attribute='now.further') == 0 %}{{ return("select 0 where false") }}{% endif %}
    {%- set touched = 'pg_temp.' ~ adapter.quote(this.identifier ~ '__touched') %}
    {%- set selects = [] %}
    {%- for journal in journals %}
        {%- set further = is_further(journal, journal.next) %}
        {%- do selects.append(
            "select " ~ key ~ " from " ~ journal.source ~ " where " ~ (
                further if journal.id == key
                else journal.id ~ " in (select " ~ journal.id ~ " from " ~ journal.source ~ " where " ~ further ~ ")"
            )
        ) %}
    {%- endfor %}
    {%- do run_query("create temporary table " ~ touched ~ " on commit drop as " ~ selects | join(' union ')) %}
    {%- do run_query("analyze " ~ touched) %}
    {%- set narrowed = namespace(sql=sql) %}
    {%- for journal in journals %}
        {%- set of_touched = key ~ " in (select " ~ key ~ " from " ~ touched ~ ")" %}
        {%- do run_query(
            "create temporary table " ~ journal.lines ~ " on commit drop as select * from " ~ journal.source ~ " where " ~ (
                of_touched if journal.id == key
                else journal.id ~ " in (select " ~ journal.id ~ " from " ~ journal.source ~ " where " ~ of_touched ~ ")"
            )
        ) %}
        {%- do run_query("analyze " ~ journal.lines) %}
        {%- set view = 'pg_temp.' ~ adapter.quote(journal.name) %}
        {%- set names = rows_of("select '" ~ journal.source ~ "'::regclass::text")[0][0] %}
        {%- set definition = modules.re.sub('(?<![\\w."])' ~ modules.re.escape(names) ~ '(?![\\w"])', journal.lines, journal.definition) %}
        {%- if journal.lines not in definition or journal.view | string not in narrowed.sql %}
            {%- do exceptions.raise_compiler_error(journal.name ~ " can't be narrowed: build this model as a table") %}
        {%- endif %}
        {%- do run_query("create temporary view " ~ view ~ " as " ~ definition) %}
        {%- set narrowed.sql = narrowed.sql | replace(journal.view | string, view) %}
    {%- endfor %}
    {%- do run_query("delete from " ~ this ~ " where " ~ key ~ " in (select " ~ key ~ " from " ~ touched ~ ")") %}
    {%- set columns = adapter.get_columns_in_relation(this) | map(attribute='quoted') | join(', ') %}
    {{- return("insert into " ~ this ~ " (" ~ columns ~ ") select " ~ columns ~ " from (" ~ narrowed.sql ~ ") as made") }}
{% endmacro %}

{# Record what this build has read. #}
{% macro keep_marks(journals, marks, print) %}
    {%- do make_marks(marks) %}
    {%- for journal in journals %}
        {%- do run_query(
            "insert into " ~ marks ~ " select '" ~ this.identifier ~ "', '" ~ journal.name ~ "', '" ~ print ~ "', '" ~ journal.file
            ~ ", fact ' || pg_relation_filenode('" ~ this ~ "'), " ~ journal.now.lignes ~ ", " ~ journal.horizon ~ ", '" ~ journal.authors
            ~ "' on conflict (fait, journal) do update set (empreinte, fichiers, lignes, horizon, auteurs)"
            ~ " = (excluded.empreinte, excluded.fichiers, excluded.lignes, excluded.horizon, excluded.auteurs)"
        ) %}
    {%- endfor %}
{% endmacro %}
