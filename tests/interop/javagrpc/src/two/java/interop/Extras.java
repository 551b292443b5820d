package interop;

/** What only 2.x can be asked: nothing beyond what both can. */
final class Extras {
    Extras(String server) {
    }

    void addTo(Harness harness) {
    }
}
