select
    entreprise_id,
    raison_sociale,
    secteur,
    pays
from {{ ref('stg_entreprises') }}
