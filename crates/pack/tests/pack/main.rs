//! Whole projects through `pack`, with real packages, a real store and real build steps.

mod world;

use world::World;

fn main() {
    librarian();
}

fn librarian() {
    let Some(world) = World::new() else { return };
    let project = world.copy("../../examples/librarian");
    let packed = world.pack(&project);
    println!("{packed:#?}");
    world.pack(&project);
    std::fs::write(project.join("src/librarian/new.py"), "x = 1\n").expect("written");
    world.pack(&project);
    std::thread::sleep(std::time::Duration::from_millis(30));
    std::fs::write(project.join("src/librarian/new.py"), "x = 2\n").expect("written");
    std::thread::sleep(std::time::Duration::from_millis(30));
    world.pack(&project);
    world.pack(&project);
}
