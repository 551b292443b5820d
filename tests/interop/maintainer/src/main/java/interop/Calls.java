package interop;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;

/** Every public method of one service, and the case that calls it: none may be left out. */
final class Calls<T> {
    private final Harness harness;
    private final String prefix;
    private final Class<T> type;
    private final T recorded;
    private final Set<String> missing = new TreeSet<>();
    private final ThreadLocal<Set<String>> called = ThreadLocal.withInitial(HashSet::new);

    interface Body<T> {
        void run(T service) throws Exception;
    }

    Calls(Harness harness, String prefix, Class<T> type, T service) {
        this.harness = harness;
        this.prefix = prefix;
        this.type = type;
        for (Method method : type.getMethods()) {
            missing.add(signature(method));
        }
        Object proxy = Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type},
                (self, method, arguments) -> {
                    called.get().add(signature(method));
                    try {
                        return method.invoke(service, arguments);
                    } catch (InvocationTargetException thrown) {
                        throw thrown.getCause();
                    }
                });
        recorded = type.cast(proxy);
    }

    /** A method as its name and the types that it takes, without their packages. */
    static String signature(Method method) {
        return method.getName() + Arrays.stream(method.getParameterTypes())
                .map(Class::getSimpleName).collect(Collectors.joining(",", "(", ")"));
    }

    /** The case of one method; a body that does not call it has failed. */
    void call(String signature, Body<T> body) {
        Harness.Case run = take(signature, body);
        harness.add(prefix + signature, run);
    }

    /** As {@link #call}, for what would disturb other cases: it runs after all of them. */
    void callAlone(String signature, Body<T> body) {
        Harness.Case run = take(signature, body);
        harness.addAlone(prefix + signature, run);
    }

    /** A method that cannot work against any server. */
    void skip(String signature, String why) {
        known(signature);
        harness.add(prefix + signature, () -> {
            throw new Harness.Skip(why);
        });
    }

    /** Adds the case that finds methods without one, as a newer library brings them. */
    void complete() {
        harness.add(prefix + "every-method-has-a-case",
                () -> Harness.equal(missing, Set.of(), type.getSimpleName()));
    }

    private Harness.Case take(String signature, Body<T> body) {
        known(signature);
        return () -> {
            called.get().clear();
            body.run(recorded);
            Harness.check(called.get().contains(signature), "its case does not call it");
        };
    }

    private void known(String signature) {
        if (!missing.remove(signature)) {
            throw new IllegalStateException(prefix + signature + " is no method, or has two cases");
        }
    }
}
