package interop;

/** What one application offers to the other. */
public interface Greeter {
    String greet(String name);
}
