"""The members of the demo space: women and men of science who lived long ago."""

NAMES = (
    "Ada Lovelace", "Sophie Germain", "Blaise Pascal", "Émilie du Châtelet", "Évariste Galois", "Mary Somerville",
    "Pierre de Fermat", "Maria Agnesi", "Joseph Fourier", "Caroline Herschel", "Augustin Fresnel", "Mary Anning",
    "André-Marie Ampère", "Emmy Noether", "Pierre-Simon Laplace", "Sofia Kovalevskaya", "Adrien-Marie Legendre",
    "Florence Nightingale", "Siméon Poisson", "Hypatia Alexandria", "Gaspard Monge", "Laura Bassi", "Denis Diderot",
    "Marie Lavoisier", "Antoine Lavoisier", "Nicole Lepaute", "Alexis Clairaut", "Wang Zhenyi", "Joseph Lagrange",
    "Maria Mitchell", "Urbain Le Verrier", "Annie Jump Cannon", "Louis Braille", "Henrietta Leavitt", "Claude Chappe",
    "Ellen Swallow", "Étienne Bézout", "Charlotte Scott", "Nicolas Condorcet", "Mary Everest Boole",
)  # fmt: skip
DEPARTMENTS = ("Recherche", "Design", "Ingénierie", "Finance", "Communication")
SKILLS = ("Python", "Comptabilité", "Illustration", "Analyse", "Rédaction", "Optics", "Statistics", "Translation")
