with lines as (
    {{ current_lines(source('sigeti', 'factures'), 'facture_id') }}
)

select
    facture_id,
    zone_id::integer as zone_id,
    entreprise_id,
    date_emission,
    date_echeance,
    montant_ttc,
    updated_at
from lines
