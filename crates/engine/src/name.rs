use corral_spec::ContainerName;

use crate::{Error, host};

const FIRST: [&str; 48] = [
    "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "copper", "crisp", "deft",
    "early", "fair", "fleet", "fond", "frank", "gentle", "glad", "golden", "grand", "hardy", "honest",
    "humble", "keen", "kind", "late", "light", "lively", "lucid", "merry", "mild", "modest", "neat", "noble",
    "patient", "plain", "proud", "quick", "quiet", "ready", "rustic", "sharp", "silver", "sober", "steady",
    "swift", "warm", "wise",
];
const SECOND: [&str; 48] = [
    "appaloosa",
    "arab",
    "bay",
    "bronco",
    "buckskin",
    "burro",
    "calf",
    "chestnut",
    "clydesdale",
    "cob",
    "colt",
    "criollo",
    "donkey",
    "dun",
    "falabella",
    "filly",
    "foal",
    "friesian",
    "gelding",
    "grey",
    "hackney",
    "haflinger",
    "heifer",
    "holsteiner",
    "jennet",
    "kid",
    "konik",
    "lamb",
    "lipizzan",
    "mare",
    "marwari",
    "morgan",
    "mule",
    "mustang",
    "oxen",
    "paint",
    "palomino",
    "percheron",
    "piebald",
    "pinto",
    "pony",
    "roan",
    "shetland",
    "shire",
    "sorrel",
    "stallion",
    "steer",
    "trakehner",
];

/// A name for a container that was given none, such as `brave_mustang_3f`.
pub(crate) fn invent() -> Result<ContainerName, Error> {
    let [first, second, tail] = host::random::<3>()?;
    let pick = |words: &[&'static str; 48], byte: u8| words[usize::from(byte) % words.len()];
    format!("{}_{}_{tail:02x}", pick(&FIRST, first), pick(&SECOND, second))
        .parse()
        .map_err(|error: corral_spec::IdError| Error::Invalid(error.to_string()))
}
