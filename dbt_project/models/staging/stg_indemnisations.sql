{{ config(tags=['P2']) }}

with lines as (
    {{ current_lines(source('sigeti', 'indemnisations'), 'indemnisation_id') }}
)

select
    indemnisation_id,
    zone_id::integer as zone_id,
    trim(beneficiaire) as beneficiaire,
    {{ tidy('type_bien') }} as type_bien,
    montant_du,
    montant_paye,
    date_evaluation,
    date_paiement,
    updated_at
from lines
