with lines as (
    {{ current_lines(source('sigeti', 'entreprises'), 'entreprise_id') }}
)

select
    entreprise_id,
    trim(raison_sociale) as raison_sociale,
    trim(secteur) as secteur,
    upper(trim(pays)) as pays,
    updated_at
from lines
