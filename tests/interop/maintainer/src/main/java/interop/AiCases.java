package interop;

import static interop.Harness.check;

import com.alibaba.nacos.api.ai.model.mcp.McpServerBasicInfo;
import com.alibaba.nacos.api.exception.NacosException;
import com.alibaba.nacos.maintainer.client.ai.AiMaintainerFactory;
import com.alibaba.nacos.maintainer.client.ai.AiMaintainerService;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** The services for AI, of which there is nothing here: every call is told so, in Nacos' shape. */
final class AiCases {
    private final String server;

    AiCases(String server) {
        this.server = server;
    }

    void addTo(Harness harness) {
        harness.add("ai.every-call-is-answered-as-not-there", this::everyCall);
    }

    private void everyCall() throws Exception {
        AiMaintainerService ai =
                AiMaintainerFactory.createAiMaintainerService(Harness.properties(server));
        Set<String> wrong = new TreeSet<>();
        int refused = 0;
        for (Object part : List.of(ai.mcp(), ai.a2a(), ai.prompt(), ai.skill(), ai.agentSpec(),
                ai.pipeline())) {
            for (Class<?> type : part.getClass().getInterfaces()) {
                for (Method method : type.getMethods()) {
                    String answer = answer(part, method);
                    if (answer.equals("501")) {
                        refused++;
                    } else {
                        wrong.add(type.getSimpleName() + "." + Calls.signature(method) + ": "
                                + answer);
                    }
                }
            }
        }
        check(wrong.isEmpty(), refused + " refused, but " + wrong);
        check(refused > 50, refused + " calls");
    }

    private static String answer(Object service, Method method) throws Exception {
        Class<?>[] types = method.getParameterTypes();
        Object[] arguments = new Object[types.length];
        for (int i = 0; i < types.length; i++) {
            arguments[i] = argument(method.getName(), types[i]);
        }
        try {
            return "answered " + method.invoke(service, arguments);
        } catch (InvocationTargetException thrown) {
            Throwable cause = thrown.getCause();
            return cause instanceof NacosException
                    ? String.valueOf(((NacosException) cause).getErrCode()) : cause.toString();
        }
    }

    private static Object argument(String method, Class<?> type) throws Exception {
        if (type == String.class) {
            return "x";
        }
        if (type == int.class) {
            return 1;
        }
        if (type == boolean.class || type == Boolean.class) {
            return true;
        }
        if (type == byte[].class) {
            return new byte[] {'P', 'K', 3, 4};
        }
        if (type == Map.class) {
            return Map.of();
        }
        if (type == McpServerBasicInfo.class) {
            McpServerBasicInfo server = new McpServerBasicInfo();
            // The client looks whether that fits the method.
            server.setProtocol(method.contains("Local") ? "stdio" : "http");
            return server;
        }
        return type.getConstructor().newInstance();
    }
}
