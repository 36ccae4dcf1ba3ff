with lines as (
    {{ current_lines(source('sigeti', 'paiements'), 'paiement_id') }}
)

select
    paiement_id,
    facture_id,
    date_paiement,
    montant,
    updated_at
from lines
