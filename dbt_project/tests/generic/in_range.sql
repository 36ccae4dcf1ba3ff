{# Bounds are included; null passes. #}
{% test in_range(model, column_name, least, most) %}
select *
from {{ model }}
where {{ column_name }} not between {{ least }} and {{ most }}
{% endtest %}
