{{ config(tags=['P2']) }}

with lines as (
    {{ current_lines(source('sigeti', 'emplois'), 'emploi_id') }}
)

select
    emploi_id,
    zone_id::integer as zone_id,
    entreprise_id,
    date_declaration,
    upper({{ tidy('type_contrat') }}) as type_contrat,
    upper({{ tidy('sexe') }}) as sexe,
    nb_prevus,
    nb_crees,
    updated_at
from lines
