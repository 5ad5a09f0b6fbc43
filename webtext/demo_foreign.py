"""Short pages of our own in other languages, for the language filter of the demo to find."""

GERMAN = (
    "Der kleine Hafen am Rand der Stadt war lange vergessen, bis eine Gruppe von Nachbarn begann, "
    "die alten Kähne wieder herzurichten. Jeden Samstag trafen sie sich mit Werkzeug und Kuchen.",
    "Zuerst musste das Wasser aus den Rümpfen gepumpt werden, danach wurden die morschen Planken "
    "gezählt und auf einer Tafel vermerkt. Niemand hatte geglaubt, dass es über hundert waren.",
    "Die Kinder strichen die Reling blau, während die Älteren erzählten, wie früher Sand und Kohle "
    "auf dem Kanal befördert wurden. Manche Geschichte war vermutlich ein wenig ausgeschmückt.",
    "Im Herbst fuhr das erste Boot wieder unter der Brücke hindurch. Der Motor hustete, die Leute "
    "am Ufer klatschten, und ein Hund sprang vor lauter Aufregung ins kalte Wasser.",
    "Nun soll ein Verein gegründet werden, der die Fahrten im Sommer regelt und das Geld für die "
    "nächste Reparatur sammelt. Wer mithelfen möchte, ist jederzeit herzlich willkommen.",
)
FRENCH = (
    "Au bout de la vallée, le moulin tourne encore deux fois par semaine, quand la rivière est "
    "assez haute. La meunière prévient alors ses voisins, qui apportent leurs sacs de blé.",
    "La roue a été refaite il y a dix ans avec du chêne coupé dans la forêt voisine. Le "
    "charpentier n'en avait jamais construit, mais il avait trouvé des dessins dans un grenier.",
    "On entend la farine tomber avant de la voir : un bruit léger, comme de la neige sur un toit. "
    "Les enfants posent leurs mains sous la goulotte et repartent les manches toutes blanches.",
    "Le dimanche, on allume le four du village et chacun y glisse son pain. Les plus patients "
    "attendent la fin de la journée, lorsque la chaleur douce convient aux tartes et aux fruits.",
    "Personne ne gagne beaucoup d'argent ici, pourtant personne ne veut que cela s'arrête. La "
    "commune vient de promettre une nouvelle vanne, qui sera posée avant le printemps prochain.",
)
SPANISH = (
    "En lo alto del cerro hay un observatorio que casi nadie visita entre semana. La encargada "
    "abre la cúpula al anochecer y deja que el aire frío se lleve el calor de las piedras.",
    "Durante el verano llegan grupos de estudiantes con mantas y termos de chocolate. Aprenden a "
    "buscar los planetas sin ayuda, y solo después se les permite mirar por el telescopio.",
    "Una noche de agosto se fue la luz en todo el pueblo y el cielo apareció como en los cuentos "
    "de los abuelos. Nadie quiso volver a casa hasta que empezaron a cantar los gallos.",
    "Desde entonces, los vecinos apagan las farolas una vez al mes y suben andando por el camino "
    "viejo. Algunos llevan guitarras, otros prefieren el silencio y las estrellas fugaces.",
    "El ayuntamiento quiere poner bancos de madera y un cartel con los nombres de las "
    "constelaciones. La encargada dice que basta con no hacer ruido y tener un poco de paciencia.",
)

FOREIGN_PAGES = (
    ("de", "Der alte Hafen", GERMAN, "utf-8"),
    ("fr", "Le moulin de la vallée", FRENCH, "iso-8859-1"),
    ("es", "El observatorio del cerro", SPANISH, "utf-8"),
)
"""Language, title, paragraphs, and the character set that the page is sent in."""
