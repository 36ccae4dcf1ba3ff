{# The newest day is at most so many days before `as_of`: records still arrive. A table without a day passes. #}
{% test recent_within(model, column_name, days) %}
with newest as (
    select max({{ column_name }}) as day
    from {{ model }}
)

select day
from newest
where day < {{ as_of() }} - {{ days }}
{% endtest %}
