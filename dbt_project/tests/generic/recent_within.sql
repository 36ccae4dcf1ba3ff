{# The latest day is at most `days` before `as_of`, so that records still arrive. A table without dates passes. #}
{% test recent_within(model, column_name, days) %}
with newest as (
    select max({{ column_name }}) as day
    from {{ model }}
)

select day
from newest
where day < {{ as_of() }} - {{ days }}
{% endtest %}
