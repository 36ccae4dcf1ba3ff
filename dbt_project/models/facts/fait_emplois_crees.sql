{{ config(
    tags=['P2'],
    indexes=[{'columns': ['zone_id', 'date_declaration']}],
    meta={'key': 'emploi_id', 'journals': {'stg_emplois_crees': 'emploi_id'}},
) }}

with declarations as (
    select *
    from {{ ref('stg_emplois_crees') }}
    where {{ has_happened('date_declaration') }}
)

select
    {{ surrogate_key(['emploi_id']) }} as emploi_sk,
    emploi_id,
    zone_id,
    entreprise_id,
    date_declaration,
    type_contrat,
    sexe,
    coalesce(nb_prevus, 0) as nb_prevus,
    coalesce(nb_crees, 0) as nb_crees
from declarations
