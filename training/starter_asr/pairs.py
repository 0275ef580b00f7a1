"""Owns the grammar of Spanish sentences and what they mean in English: the translations the model learns.

It must not know about audio or models. A stable fortieth of the sentences is held out of every training."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from itertools import product

Pair = tuple[str, str]

# Held out whatever the hash says: the sentence people are told to try.
DEMONSTRATION = ("Madrid es la capital de España.", "Madrid is the capital of Spain.")
HELDOUT_EVERY = 40
# So many sentences of one template at most: the large ones must not crowd out the others.
MOST_EACH = 320

CAPITALS = (
    "Madrid|España|Spain París|Francia|France Roma|Italia|Italy Berlín|Alemania|Germany Lisboa|Portugal|Portugal "
    "Londres|Inglaterra|England Viena|Austria|Austria Atenas|Grecia|Greece Varsovia|Polonia|Poland "
    "Moscú|Rusia|Russia Tokio|Japón|Japan Lima|Perú|Peru Bogotá|Colombia|Colombia Caracas|Venezuela|Venezuela "
    "Santiago|Chile|Chile Montevideo|Uruguay|Uruguay Quito|Ecuador|Ecuador Dublín|Irlanda|Ireland "
    "Oslo|Noruega|Norway Estocolmo|Suecia|Sweden Helsinki|Finlandia|Finland Praga|Chequia|Czechia "
    "Budapest|Hungría|Hungary Bruselas|Bélgica|Belgium Berna|Suiza|Switzerland Ottawa|Canadá|Canada "
    "Managua|Nicaragua|Nicaragua Asunción|Paraguay|Paraguay Rabat|Marruecos|Morocco Nairobi|Kenia|Kenya "
    "Ankara|Turquía|Turkey"
)
ENGLISH_CITIES = {
    "París": "Paris", "Roma": "Rome", "Berlín": "Berlin", "Lisboa": "Lisbon", "Londres": "London", "Viena": "Vienna",
    "Atenas": "Athens", "Varsovia": "Warsaw", "Moscú": "Moscow", "Tokio": "Tokyo", "Bogotá": "Bogota",
    "Dublín": "Dublin", "Estocolmo": "Stockholm", "Praga": "Prague", "Bruselas": "Brussels", "Berna": "Bern",
    "Asunción": "Asuncion",
}  # fmt: skip
NAMES = ("Ana", "María", "Pedro", "Juan", "Carmen", "Luis", "Elena", "Pablo", "Laura", "Carlos")
NUMBERS = (
    "dos|two tres|three cuatro|four cinco|five seis|six siete|seven ocho|eight nueve|nine diez|ten once|eleven "
    "doce|twelve"
)
AGES = (
    "diez|ten veinte|twenty treinta|thirty cuarenta|forty cincuenta|fifty sesenta|sixty setenta|seventy "
    "ochenta|eighty noventa|ninety"
)
HOURS = "dos|two tres|three cuatro|four cinco|five seis|six siete|seven ocho|eight nueve|nine diez|ten once|eleven doce|twelve"
DAYS = "lunes|Monday martes|Tuesday miércoles|Wednesday jueves|Thursday viernes|Friday sábado|Saturday domingo|Sunday"
MONTHS = (
    "enero|January febrero|February marzo|March abril|April mayo|May junio|June julio|July agosto|August "
    "septiembre|September octubre|October noviembre|November diciembre|December"
)
ORDINALS = "dos|second tres|third cuatro|fourth cinco|fifth diez|tenth veinte|twentieth"
FAMILY = "hermano|brother padre|father abuelo|grandfather tío|uncle hijo|son primo|cousin amigo|friend"
FAMILY_HER = "hermana|sister madre|mother abuela|grandmother tía|aunt hija|daughter amiga|friend"
JOBS = (
    "médico|médica|a_doctor profesor|profesora|a_teacher abogado|abogada|a_lawyer cocinero|cocinera|a_cook "
    "escritor|escritora|a_writer pintor|pintora|a_painter estudiante|estudiante|a_student "
    "enfermero|enfermera|a_nurse músico|música|a_musician"
)
FEELINGS = (
    "cansado|cansada|tired contento|contenta|happy enfermo|enferma|ill triste|triste|sad ocupado|ocupada|busy "
    "enfadado|enfadada|angry listo|lista|ready"
)
# Masculine, feminine, masculine plural, feminine plural, English.
COLOURS = (
    "rojo|roja|rojos|rojas|red blanco|blanca|blancos|blancas|white negro|negra|negros|negras|black "
    "verde|verde|verdes|verdes|green azul|azul|azules|azules|blue amarillo|amarilla|amarillos|amarillas|yellow"
)
QUALITIES = (
    "grande|grande|big pequeño|pequeña|small nuevo|nueva|new viejo|vieja|old caro|cara|expensive bonito|bonita|pretty"
)
# Gender, one, several, English, several in English.
THINGS = (
    "m|coche|coches|car|cars m|libro|libros|book|books f|mesa|mesas|table|tables f|silla|sillas|chair|chairs "
    "f|puerta|puertas|door|doors f|camisa|camisas|shirt|shirts m|sombrero|sombreros|hat|hats f|flor|flores|flower|flowers "
    "f|llave|llaves|key|keys m|reloj|relojes|clock|clocks f|bicicleta|bicicletas|bicycle|bicycles "
    "m|vaso|vasos|glass|glasses f|carta|cartas|letter|letters m|zapato|zapatos|shoe|shoes"
)
ANIMALS = (
    "m|perro|perros|dog|dogs m|gato|gatos|cat|cats m|caballo|caballos|horse|horses f|vaca|vacas|cow|cows "
    "m|pájaro|pájaros|bird|birds m|pez|peces|fish|fish m|ratón|ratones|mouse|mice"
)
BUILDINGS = (
    "m|museo|museum f|estación|station f|escuela|school m|hospital|hospital f|iglesia|church m|mercado|market "
    "f|plaza|square m|hotel|hotel f|biblioteca|library f|playa|beach m|parque|park m|banco|bank f|farmacia|pharmacy"
)
ROOMS = (
    "la_cocina|the_kitchen el_jardín|the_garden la_casa|the_house la_calle|the_street el_río|the_river la_cama|the_bed"
)
FOODS = (
    "m|pan|bread m|queso|cheese f|leche|milk m|café|coffee m|té|tea m|vino|wine f|sopa|soup m|arroz|rice f|agua|water "
    "f|carne|meat m|pescado|fish m|azúcar|sugar f|fruta|fruit m|chocolate|chocolate f|cerveza|beer"
)
ACTIVITIES = (
    "leer|to_read nadar|to_swim bailar|to_dance cantar|to_sing cocinar|to_cook viajar|to_travel dormir|to_sleep "
    "escuchar_música|to_listen_to_music ver_la_televisión|to_watch_television jugar_al_fútbol|to_play_football "
    "aprender_inglés|to_learn_English"
)
LANGUAGES = "español|Spanish inglés|English francés|French alemán|German italiano|Italian portugués|Portuguese"
TRANSPORT = "autobús|bus tren|train coche|car bicicleta|bicycle avión|plane barco|boat"
WEATHER = (
    "hace_frío|it_is_cold hace_calor|it_is_hot hace_sol|it_is_sunny hace_viento|it_is_windy "
    "llueve|it_is_raining nieva|it_is_snowing"
)
# Who, the English of it, and the person: first, third, first plural, third plural.
WHO = (
    "|I|0 |we|2 mi_hermano|my_brother|1 mi_hermana|my_sister|1 mi_padre|my_father|1 mi_madre|my_mother|1 "
    "el_profesor|the_teacher|1 el_médico|the_doctor|1 mi_abuela|my_grandmother|1 mi_amigo_Luis|my_friend_Luis|1 "
    "mis_padres|my_parents|3 mis_amigos|my_friends|3 los_niños|the_children|3 Ana|Ana|1 Pedro|Pedro|1"
)
# Four persons in Spanish, then English for the third person singular and for the others.
LIVE = "vivo|vive|vivimos|viven|lives|live"
WORK = "trabajo|trabaja|trabajamos|trabajan|works|work"
HAVE = "tengo|tiene|tenemos|tienen|has|have"
WANT = "quiero|quiere|queremos|quieren|wants|want"
GO = "voy|va|vamos|van|goes|go"
SPEAK = "hablo|habla|hablamos|hablan|speaks|speak"
BUY = "compré|compró|compramos|compraron|bought|bought"
EAT = "como|come|comemos|comen|eats|eat"
NEED = "necesito|necesita|necesitamos|necesitan|needs|need"
COME = "vengo|viene|venimos|vienen|comes|come"
WENT = "fui|fue|fuimos|fueron|went|went"


def rows(table: str) -> list[list[str]]:
    """The cells of a table: rows apart by blanks, cells by bars, an underscore for a blank in a cell."""
    return [[cell.replace("_", " ") for cell in row.split("|")] for row in table.split()]


def cities() -> list[Pair]:
    """Spanish and English names of the capitals."""
    return [(city, ENGLISH_CITIES.get(city, city)) for city, _, _ in rows(CAPITALS)]


def countries() -> list[Pair]:
    """Spanish and English names of the countries."""
    return [(spanish, english) for _, spanish, english in rows(CAPITALS)]


def the(gender: str, noun: str) -> str:
    """A singular noun with its definite article."""
    return f"el {noun}" if gender == "m" or noun == "agua" else f"la {noun}"


def one(gender: str, noun: str) -> str:
    """A singular noun with its indefinite article."""
    return f"un {noun}" if gender == "m" else f"una {noun}"


def an(noun: str) -> str:
    """An English noun with its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def clause(verb: str) -> Iterator[Pair]:
    """Every subject with its form of a verb, in both languages."""
    forms = verb.split("|")
    for spanish, english, person in rows(WHO):
        number = int(person)
        yield f"{spanish} {forms[number]}".strip(), f"{english} {forms[4] if number == 1 else forms[5]}"


def places() -> Iterator[Pair]:
    """Where one may live, work or go."""
    yield from cities()
    yield from countries()


def of_places() -> Iterator[Pair]:
    """Capitals, and who lives, works and travels where."""
    for city, country, english in rows(CAPITALS):
        name = ENGLISH_CITIES.get(city, city)
        yield f"{city} es la capital de {country}.", f"{name} is the capital of {english}."
        yield f"la capital de {country} es {city}.", f"the capital of {english} is {name}."
        yield f"{city} está en {country}.", f"{name} is in {english}."
        yield f"¿cuál es la capital de {country}?", f"what is the capital of {english}?"


def of_homes() -> Iterator[Pair]:
    """Who lives and works where, and who goes where."""
    for verb, after in ((LIVE, ("en", "in")), (WORK, ("en", "in")), (GO, ("a", "to"))):
        for (spanish, english), (place, where) in product(clause(verb), places()):
            yield f"{spanish} {after[0]} {place}.", f"{english} {after[1]} {where}."


def of_family() -> Iterator[Pair]:
    """Names, trades and moods."""
    for feminine, table in ((0, FAMILY), (1, FAMILY_HER)):
        for spanish, english in rows(table):
            for name in NAMES:
                yield f"mi {spanish} se llama {name}.", f"my {english} is called {name}."
            for job in rows(JOBS):
                yield f"mi {spanish} es {job[feminine]}.", f"my {english} is {job[2]}."
            for mood in rows(FEELINGS):
                yield f"mi {spanish} está {mood[feminine]}.", f"my {english} is {mood[2]}."
            for age, years in rows(AGES):
                yield f"mi {spanish} tiene {age} años.", f"my {english} is {years} years old."


def of_possessions() -> Iterator[Pair]:
    """How many brothers, and what colour the car is."""
    relatives = [["m", "hermano", "hermanos", "brother", "brothers"], ["f", "hija", "hijas", "daughter", "daughters"]]
    nouns = rows(THINGS) + rows(ANIMALS) + relatives
    for (spanish, english), noun, (count, number) in product(clause(HAVE), nouns, rows(NUMBERS)[:9]):
        yield f"{spanish} {count} {noun[2]}.", f"{english} {number} {noun[4]}."
    for (spanish, english), noun, colour in product(clause(HAVE), rows(THINGS), rows(COLOURS)):
        shade = colour[noun[0] == "f"]
        yield f"{spanish} {one(noun[0], noun[1])} {shade}.", f"{english} a {colour[4]} {noun[3]}."


def of_colours() -> Iterator[Pair]:
    """Things and what they are like."""
    for noun, colour in product(rows(THINGS) + rows(ANIMALS), rows(COLOURS)):
        feminine = noun[0] == "f"
        yield f"{the(noun[0], noun[1])} es {colour[feminine]}.", f"the {noun[3]} is {colour[4]}."
        article = "las" if feminine else "los"
        yield f"{article} {noun[2]} son {colour[2 + feminine]}.", f"the {noun[4]} are {colour[4]}."
    for noun, quality in product(rows(THINGS) + rows(ANIMALS), rows(QUALITIES)):
        yield f"{the(noun[0], noun[1])} es muy {quality[noun[0] == 'f']}.", f"the {noun[3]} is very {quality[2]}."


def of_animals() -> Iterator[Pair]:
    """Which animal sleeps where, and which is the bigger one."""
    for noun, colour, (room, where) in product(rows(ANIMALS), rows(COLOURS), rows(ROOMS)[:4]):
        animal, meaning = the(noun[0], f"{noun[1]} {colour[noun[0] == 'f']}"), f"the {colour[4]} {noun[3]}"
        yield f"{animal} duerme en {room}.", f"{meaning} sleeps in {where}."
        yield f"{animal} está en {room}.", f"{meaning} is in {where}."
    for first, second in product(rows(ANIMALS), rows(ANIMALS)):
        if first != second:
            larger, other = the(first[0], first[1]), the(second[0], second[1])
            yield f"{larger} es más grande que {other}.", f"the {first[3]} is bigger than the {second[3]}."
    for (count, number), noun, (room, where) in product(rows(NUMBERS)[:9], rows(ANIMALS), rows(ROOMS)[:4]):
        yield f"hay {count} {noun[2]} en {room}.", f"there are {number} {noun[4]} in {where}."


def of_things() -> Iterator[Pair]:
    """Where things are and what they cost."""
    spots = (("en", "on"), ("debajo de", "under"), ("al lado de", "next to"))
    surfaces = (("la mesa", "the table"), ("la cama", "the bed"), ("la silla", "the chair"), ("la puerta", "the door"))
    for noun, spot, surface in product(rows(THINGS), spots, surfaces):
        if noun[1] not in surface[0]:
            there = f"{spot[0]} {surface[0]}"
            yield f"{the(noun[0], noun[1])} está {there}.", f"the {noun[3]} is {spot[1]} {surface[1]}."
    for noun in rows(THINGS):
        yield f"¿cuánto cuesta {the(noun[0], noun[1])}?", f"how much does the {noun[3]} cost?"
        yield f"¿dónde está {the(noun[0], noun[1])}?", f"where is the {noun[3]}?"
        yield f"¿tienes {one(noun[0], noun[1])}?", f"do you have {an(noun[3])}?"
        yield f"¿de qué color es {the(noun[0], noun[1])}?", f"what colour is the {noun[3]}?"
    for (spanish, english), noun in product(clause(BUY), rows(THINGS)):
        yield f"ayer {spanish} {one(noun[0], noun[1])}.", f"yesterday {english} {an(noun[3])}."


def of_town() -> Iterator[Pair]:
    """Buildings: where they are, and how to get there."""
    for gender, name, english in rows(BUILDINGS):
        building = the(gender, name)
        yield f"¿dónde está {building}?", f"where is the {english}?"
        yield f"¿está abierto el {name}?" if gender == "m" else f"¿está abierta la {name}?", f"is the {english} open?"
        for way, means in rows(TRANSPORT):
            yield f"voy {to(building)} en {way}.", f"I go to the {english} by {means}."
        for day, name_of_day in rows(DAYS):
            yield f"el {day} voy {to(building)}.", f"on {name_of_day} I go to the {english}."
        for other, label, meaning in rows(BUILDINGS):
            if label != name:
                near = the(other, label)
                yield f"{building} está cerca {of(near)}.", f"the {english} is near the {meaning}."
                yield f"{building} está lejos {of(near)}.", f"the {english} is far from the {meaning}."


def to(noun: str) -> str:
    """The noun behind `a`, which a masculine article joins."""
    return f"al {noun[3:]}" if noun.startswith("el ") else f"a {noun}"


def of(noun: str) -> str:
    """The noun behind `de`, which a masculine article joins."""
    return f"del {noun[3:]}" if noun.startswith("el ") else f"de {noun}"


def of_food() -> Iterator[Pair]:
    """What is wanted, eaten and liked."""
    for (spanish, english), (_, food, meaning) in product(clause(WANT), rows(FOODS)):
        yield f"{spanish} {food}.", f"{english} {meaning}."
    for (spanish, english), first, second in product(clause(EAT), rows(FOODS)[:2], rows(FOODS)):
        if first != second and second[1] not in ("leche", "café", "té", "vino", "agua", "cerveza"):
            yield f"{spanish} {first[1]} con {second[1]}.", f"{english} {first[2]} with {second[2]}."
    for (who, verb, english), (gender, food, meaning) in product(likers(), rows(FOODS)):
        yield f"{who} {verb} {the(gender, food)}.".strip(), f"{english} {meaning}."
    for (who, verb, english), (spanish, meaning) in product(likers(), rows(ACTIVITIES)):
        yield f"{who} {verb} {spanish}.".strip(), f"{english} {meaning}."
    for (spanish, english), (_, food, meaning) in product(clause(NEED), rows(FOODS)):
        yield f"{spanish} comprar {food}.", f"{english} to buy {meaning}."


def of_wishes() -> Iterator[Pair]:
    """What people want to do, and which languages they speak."""
    for (spanish, english), (activity, meaning) in product(clause(WANT), rows(ACTIVITIES)):
        yield f"{spanish} {activity}.", f"{english} {meaning}."
    for (spanish, english), (language, meaning) in product(clause(SPEAK), rows(LANGUAGES)):
        yield f"{spanish} {language}.", f"{english} {meaning}."
        yield f"{spanish} un poco de {language}.", f"{english} a little {meaning}."


def of_weather() -> Iterator[Pair]:
    """What it is like today, and what is to come."""
    for (weather, meaning), (city, name) in product(rows(WEATHER), cities()):
        yield f"hoy {weather} en {city}.", f"today {meaning} in {name}."
        yield f"{weather} en {city}.", f"{meaning} in {name}."
    for day, name in [*rows(DAYS), ["", "tomorrow"]]:
        when, means = (f"el {day}", f"on {name}") if day else ("mañana", name)
        yield f"{when} va a llover.", f"{means} it is going to rain."
        yield f"{when} va a nevar.", f"{means} it is going to snow."
        yield f"{when} va a hacer frío.", f"{means} it is going to be cold."
        yield f"{when} va a hacer calor.", f"{means} it is going to be hot."


def of_times() -> Iterator[Pair]:
    """Hours, days and months."""
    parts = (("", ""), (" de la mañana", " in the morning"), (" de la tarde", " in the afternoon"))
    for (hour, english), (part, meaning) in product(rows(HOURS), parts):
        yield f"son las {hour}{part}.", f"it is {english} o'clock{meaning}."
        for what, thing in (("el tren", "the train"), ("el autobús", "the bus"), ("el avión", "the plane")):
            yield f"{what} sale a las {hour}{part}.", f"{thing} leaves at {english} o'clock{meaning}."
            yield f"{what} llega a las {hour}{part}.", f"{thing} arrives at {english} o'clock{meaning}."
    for hour, english in rows(HOURS):
        yield f"son las {hour} y media.", f"it is half past {english}."
        yield f"son las {hour} y cuarto.", f"it is a quarter past {english}."
        yield f"son las {hour} menos cuarto.", f"it is a quarter to {english}."
    for day, english in rows(DAYS):
        yield f"hoy es {day}.", f"today is {english}."
        yield f"mañana es {day}.", f"tomorrow is {english}."
    for month, english in rows(MONTHS):
        yield f"mi cumpleaños es en {month}.", f"my birthday is in {english}."
        for day, ordinal in rows(ORDINALS):
            yield f"hoy es el {day} de {month}.", f"today is the {ordinal} of {english}."


def of_greetings() -> Iterator[Pair]:
    """What people say to each other."""
    greetings = (
        "buenos_días|good_morning buenas_tardes|good_afternoon buenas_noches|good_night hola|hello gracias|thank_you "
        "adiós|goodbye hasta_mañana|see_you_tomorrow lo_siento|I_am_sorry"
    )
    for (spanish, english), name in product(rows(greetings), NAMES):
        yield f"{spanish}, {name}.", f"{english}, {name}."
    for name in NAMES:
        yield f"me llamo {name}.", f"my name is {name}."
        yield f"¿cómo está {name}?", f"how is {name}?"
        yield f"{name} es mi amig{'a' if name[-1] == 'a' or name == 'Carmen' else 'o'}.", f"{name} is my friend."


def likers() -> list[tuple[str, str, str]]:
    """Who likes something: the name before the verb, if it has one, the verb, and both in English."""
    plain = [("", "me gusta", "I like"), ("", "no me gusta", "I do not like"), ("", "nos gusta", "we like")]
    return plain + [(to(who), "le gusta", f"{english} likes") for who, english, person in rows(WHO) if person == "1"]


def of_travels() -> Iterator[Pair]:
    """Countries and capitals, so often that each is known by sound: once they were spelt as they are spoken."""
    for place, name in places():
        yield f"¿dónde está {place}?", f"where is {name}?"
        for spanish, english in clause(COME):
            yield f"{spanish} de {place}.", f"{english} from {name}."
        for spanish, english in clause(WENT):
            yield f"ayer {spanish} a {place}.", f"yesterday {english} to {name}."
        for spanish, english in clause(WANT):
            yield f"{spanish} viajar a {place}.", f"{english} to travel to {name}."
        for who, verb, english in likers():
            yield f"{who} {verb} {place}.".strip(), f"{english} {name}."
        for way, means in rows(TRANSPORT):
            yield (
                f"el {way} va a {place}." if way != "bicicleta" else f"la {way} va a {place}.",
                f"the {means} goes to {name}.",
            )
    for place, name in countries():
        for quality in rows(QUALITIES):
            yield f"{place} es un país muy {quality[0]}.", f"{name} is a very {quality[2]} country."
        for weather, meaning in rows(WEATHER):
            yield f"hoy {weather} en {place}.", f"today {meaning} in {name}."


TEMPLATES = (
    of_places, of_homes, of_family, of_possessions, of_colours, of_animals, of_things, of_town, of_food, of_wishes,
    of_weather, of_times, of_greetings, of_travels,
)  # fmt: skip
SHARES = {of_homes: 3, of_food: 3, of_town: 3, of_travels: 5}  # times MOST_EACH; twice for the others


def sentence(text: str) -> str:
    """A capital at its beginning, behind an inverted mark if there is one."""
    place = 1 if text[0] in "¿¡" else 0
    return text[:place] + text[place].upper() + text[place + 1 :]


def held_out(spanish: str) -> bool:
    """Whether a sentence of the grammar is kept out of training: the same ones wherever this is asked."""
    return spanish == DEMONSTRATION[0] or zlib.crc32(spanish.encode()) % HELDOUT_EVERY == 0


def build(seed: int = 1) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and pairs held out, the demonstration first."""
    draw = random.Random(seed)
    train: set[Pair] = set()
    heldout: set[Pair] = set()
    for template in TEMPLATES:
        made = sorted(
            {(sentence(spanish), sentence(english).replace("María", "Maria")) for spanish, english in template()}
        )
        chosen = draw.sample(made, min(len(made), MOST_EACH * SHARES.get(template, 2)))
        train |= {pair for pair in chosen if not held_out(pair[0])}
        heldout |= {pair for pair in chosen if held_out(pair[0])}
    others = sorted(heldout - {DEMONSTRATION})
    draw.shuffle(others)
    return sorted(train), [DEMONSTRATION, *others]
